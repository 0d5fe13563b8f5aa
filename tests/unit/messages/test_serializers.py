"""``serializers``: accepted content, and errors that say which argument it was."""

from __future__ import annotations

import datetime
import enum
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.functional import lazystr
from kombu.serialization import registry

from taskq.exceptions import ContentDisallowed, EncodeError
from taskq.messages import protocol, serializers


class Colour(enum.Enum):
    RED = 1


def build(*args: Any, **kwargs: Any) -> Any:
    positions = {"user": 0, "text": 1}
    return protocol.build(name="shop.tasks.mail", queue="q", args=args, kwargs=kwargs, positions=positions)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((User(pk=1),), {}, "argument 'user' of shop.tasks.mail is a User instance: pass its primary key"),
        ((1, 2, object()), {}, "argument 3 of shop.tasks.mail is an object"),
        ((), {"to": User(pk=1)}, "argument 'to' of shop.tasks.mail is a User instance: pass its primary key"),
        ((1,), {"to": [{"x": User(pk=1)}]}, "argument 'to' of shop.tasks.mail contains a User instance"),
        ((User.objects.none(),), {}, "is a QuerySet: pass a list of primary keys"),
        ((User.objects,), {}, "is a UserManager: pass a list of primary keys"),
        (({1},), {}, "is a set: pass a list"),
        ((datetime.timedelta(1),), {}, "is a timedelta: pass a number of seconds"),
        ((Colour.RED,), {}, "is a Colour"),
        (({(1, 2): 3},), {}, "is a dict that"),
        ((CIRCLE,), {}, "list that holds itself"),
        ((ValueError("x"),), {}, "is a ValueError"),
    ],
)
def test_encode_error_names_the_argument_and_a_remedy(args: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(EncodeError) as info:
        build(*args, **kwargs)
    assert message in str(info.value)


def test_encode_error_says_that_it_is_in_a_follower() -> None:
    with pytest.raises(EncodeError, match=r"the follow-ups of shop\.add"):
        protocol.build(name="shop.add", queue="q", callbacks=[object()])


def test_values_that_kombus_json_knows_survive_encoding() -> None:
    values = [datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC), uuid.UUID(int=7), b"\xff", datetime.time(1, 2)]
    envelope = build(*values, lazystr("lazy"))
    read, _, _ = protocol.decode_body(envelope.body, "application/json", "utf-8", {}, {})
    assert read == [*values, "lazy"]


def test_replaced_kombu_encoder_for_json_is_used() -> None:
    codec = registry._encoders["json"]
    registry._encoders["json"] = codec._replace(encoder=lambda value: b'[["mine"], {}, {}]')
    try:
        assert build(1).body == '[["mine"], {}, {}]'
    finally:
        registry._encoders["json"] = codec


def test_accepted_content_follows_the_setting() -> None:
    assert serializers.accepted_content() == {"application/json"}
    with override_settings(TASKQ_ACCEPT_CONTENT=["application/x-mine", "pickle"]):
        assert serializers.accepted_content() == {"application/x-mine", "application/x-python-serialize"}
    with (
        override_settings(TASKQ_ACCEPT_CONTENT=["nope"]),
        pytest.raises(ImproperlyConfigured, match="TASKQ_ACCEPT_CONTENT"),
    ):
        serializers.accepted_content()
    with pytest.raises(ContentDisallowed):
        serializers.decode("x", "application/x-mine")


@pytest.mark.parametrize("payload", [b"text", "téxt".encode(), b"\xff\x00"])
@pytest.mark.parametrize("encoding", ["utf-8", "binary"])
def test_bytes_survive_conversion_to_text(payload: bytes, encoding: str) -> None:
    text, body_encoding = serializers.to_text(payload, encoding)
    assert serializers.to_bytes(text, {"body_encoding": body_encoding} if body_encoding else {}) == payload
    assert (body_encoding is None) == (encoding == "utf-8" and payload != b"\xff\x00")


def test_serializer_of_a_content_type() -> None:
    assert serializers.serializer_of("application/json") == "json"
    with pytest.raises(EncodeError, match="application/x-nope"):
        serializers.serializer_of("application/x-nope")
