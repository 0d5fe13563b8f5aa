"""Pages that refresh: what the reader does with them stays."""

from __future__ import annotations

from typing import Any

from tests.support.waiting import wait_until

from .visitor import Visitor

MORPH = """async ([before, after, act]) => {
  document.body.innerHTML = `<div id="fragment" data-taskq-fragment>${before}</div>`;
  const old = document.getElementById("fragment");
  if (act) new Function(act)();
  const nodes = new Map([...old.querySelectorAll("[id]")].map((node) => [node.id, node]));
  const page = new DOMParser().parseFromString(`<div id="fragment" data-taskq-fragment>${after}</div>`, "text/html");
  const fresh = page.getElementById("fragment");
  const wanted = fresh.outerHTML;
  window.taskqMorph(old, fresh);
  return {
    html: old.innerHTML,
    equal: old.outerHTML === wanted,
    kept: [...old.querySelectorAll("[id]")].filter((node) => nodes.get(node.id) === node).map((node) => node.id),
    focus: document.activeElement.id,
    selection: String(document.getSelection()),
    values: Object.fromEntries([...old.querySelectorAll("input")].map((input) => [input.id, input.value])),
    checked: [...old.querySelectorAll("input:checked")].map((box) => box.value),
    opened: [...old.querySelectorAll("details[open]")].map((fold) => fold.id),
  };
}"""


def morph(visitor: Visitor, before: str, after: str, act: str = "") -> dict[str, Any]:
    found: dict[str, Any] = visitor.page.evaluate(MORPH, [before, after, act])
    return found


def row(number: int, text: str = "") -> str:
    box = f'<input type="checkbox" name="_selected_action" value="{number}">'
    return f'<tr><td>{box}</td><td><a id="a{number}" href="/{number}/">{text or number}</a></td></tr>'


def table(*rows: str) -> str:
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def test_a_fragment_becomes_like_the_new_one_and_what_the_reader_did_stays(visitor: Visitor) -> None:
    visitor.context.route("**/blank", lambda route: route.fulfill(body="<body></body>", content_type="text/html"))
    visitor.page.goto("/blank")
    visitor.page.add_script_tag(path="taskq_admin/static/taskq_admin/morph.js")

    found = morph(visitor, table(row(2), row(1)), table(row(3), row(2, "two"), row(1)))
    assert found["equal"]
    assert found["kept"] == ["a2", "a1"]

    # Boxes belong to rows, not to places; rows that are gone take theirs along.
    check = 'for (const box of document.querySelectorAll(\'[value="1"], [value="2"]\')) box.checked = true'
    found = morph(visitor, table(row(3), row(2), row(1)), table(row(4), row(3), row(1)), check)
    assert found["checked"] == ["1"]

    # The focus stays though rows come and go above, and where the node itself would go.
    focus = "document.getElementById('a1').focus()"
    found = morph(visitor, table(row(3), row(2), row(1)), table(row(5), row(4), row(1)), focus)
    assert (found["focus"], found["equal"]) == ("a1", True)
    found = morph(visitor, table(row(2), row(1)), table(row(2)), focus)
    assert found["focus"] == "a1"

    typed = "const field = document.getElementById('q'); field.value = 'typed'; field.focus()"
    found = morph(visitor, '<p>1</p><input id="q" value="">', '<p>2</p><p>3</p><input id="q" value="x">', typed)
    assert (found["values"], found["focus"], found["equal"]) == ({"q": "typed"}, "q", True)

    fold = '<details id="d"><summary>{0}</summary>{0}</details><details id="e"><summary>{0}</summary></details>'
    found = morph(visitor, fold.format(1), fold.format(2), "document.getElementById('d').open = true")
    assert found["opened"] == ["d"]
    assert "<summary>2</summary>2" in found["html"]

    choose = "document.getSelection().selectAllChildren(document.getElementById('s'))"
    found = morph(visitor, '<b>1</b><p id="s">chosen</p>', '<b>2</b><i>new</i><p id="s">other</p>', choose)
    assert found["selection"] == "chosen"
    assert "<b>2</b><i>new</i>" in found["html"]

    kept = '<div data-taskq-keep="">{0}</div><div class="actions">{0}</div><svg><rect width="{0}"></rect></svg>'
    found = morph(visitor, kept.format(1), kept.format(2))
    assert found["html"] == kept.format(1).replace('width="1"', 'width="2"')

    # Scripts of a page that was fetched do not run.
    assert "<script>" in morph(visitor, "<p>1</p>", "<p>1</p><script>window.evil = 1</script>")["html"]
    assert visitor.page.evaluate("window.evil") is None


def test_the_page_refreshes_tells_when_the_server_is_lost_and_when_the_session_has_ended(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/admin/taskq/worker/")
    choice, state = page.locator("[data-taskq-refresh] select"), page.locator("[data-taskq-refresh] [role=status]")
    choice.select_option("1")
    seen = page.locator("#result_list tbody tr").first
    seen.evaluate("row => { row.marked = true; }")
    with page.expect_response("**/worker/") as answered:
        pass
    assert answered.value.request.headers["taskq-refresh"] == "1"
    assert seen.evaluate("row => row.marked")

    # The choice is remembered by the browser.
    visitor.open("/admin/taskq/taskrun/")
    assert page.locator("[data-taskq-refresh] select").input_value() == "1"
    visitor.open("/admin/taskq/worker/")

    pattern = "**/admin/taskq/worker/"
    visitor.context.route(pattern, lambda route: route.abort())
    state.get_by_text("does not answer").wait_for()
    visitor.context.unroute(pattern)
    visitor.context.route(pattern, lambda route: route.fulfill(status=502))
    state.get_by_text("502").wait_for()
    visitor.context.unroute(pattern)
    wait_until(lambda: state.text_content() == "", what="the server is back")
    assert not page.locator("[data-taskq-refresh].taskq-bad").count()

    visitor.context.clear_cookies()
    state.get_by_text("session has ended").wait_for()
    assert state.get_by_role("link").get_attribute("href").endswith("/admin/taskq/worker/")
    # These were what the browser was asked to meet.
    visitor.complaints[:] = [text for text in visitor.complaints if "Failed to load resource" not in text]
