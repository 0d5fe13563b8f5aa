"""Runs the suite over the matrix: ``nox -l`` lists, ``nox -s 'tests(3.13, 6.1)'`` runs one."""

import nox

nox.options.sessions = ["tests", "lint", "types"]

MATRIX = [
    ("3.11", "5.2"),
    *((python, django) for python in ("3.12", "3.13") for django in ("5.2", "6.0", "6.1")),
]


@nox.session
@nox.parametrize(("python", "django"), MATRIX, ids=[f"{python}, {django}" for python, django in MATRIX])
def tests(session: nox.Session, django: str) -> None:
    session.install("-e", ".[dev,postgres,mysql]", f"django=={django}.*")
    session.run("python", "manage.py", "makemigrations", "--check", "--dry-run")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "-b", "html", "docs", "docs/_build/html")
