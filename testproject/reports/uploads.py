"""What may be uploaded: how large, and of which type."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, ValidationError
from django.core.files.uploadhandler import FileUploadHandler

#: Bytes. Enough to try things with; the text is kept in the row.
LARGEST_FILE = 1_000_000
#: Bytes of a request: a file, and some room for the other fields.
LARGEST_REQUEST = LARGEST_FILE + 64_000
#: Lines. The time that a report takes grows with them.
MOST_LINES = 10_000
#: The endings of files that a report can be made of.
ENDINGS = ("csv", "txt")


class BoundedUpload(FileUploadHandler):
    """Refuses a request that is too large, before any of it is read or written to the disk."""

    def handle_raw_input(self, input_data: Any, META: dict[str, str], content_length: int, *args: Any) -> None:
        """Raise ``RequestDataTooBig`` by the length that the request tells."""
        if content_length > LARGEST_REQUEST:
            raise RequestDataTooBig(f"The request is larger than {LARGEST_REQUEST:,} bytes.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the data on to the next handler."""
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the next handler."""


def read_text(upload: Any) -> str:
    """Return the text of an uploaded file. Raises ``ValidationError`` for what is too large, or no text."""
    if upload.size > LARGEST_FILE:
        raise ValidationError("The file is larger than 1 MB.")
    try:
        text = str(upload.read().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValidationError("The file is not text in UTF-8.") from error
    if "\0" in text:
        raise ValidationError("The file is not text.")
    if len(text.splitlines()) > MOST_LINES:
        raise ValidationError(f"The file has more than {MOST_LINES:,} lines.")
    return text
