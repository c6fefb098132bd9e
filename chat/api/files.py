"""Operations of ``/api/v1/files``: uploads, in parts or in one request."""

from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from chat import refusals
from chat.access import parse_id
from chat.files import uploads
from chat.files.kinds import Given, given_as
from chat.files.models import File
from chat.files.reading import access_file
from chat.http import parsing
from chat.http.fields import Fields
from chat.http.members import signed_in_user

PART_DIGITS = 9  # of a part's number

files_router = Router()


class UploadBody(Fields):
    """Body that announces a file."""

    name: str
    size: int = Field(description="Its bytes.")
    mime: str | None = Field(None, description="Ignored: the content says what it is.")


class UploadOut(Schema):
    id: str
    part_bytes: int = Field(description="Bytes of each part but the last.")


class FileOut(Schema):
    id: str
    name: str
    mime: str
    size: int
    width: int | None
    height: int | None
    sha256: str
    given: Given = Field(
        description="How an agent gets it, alone in a question: its bytes, its text, or only its name."
    )


class PartOut(Schema):
    id: str
    parts: list[int] = Field(description="Numbers of the parts that are stored.")


class UploadStateOut(PartOut):
    name: str
    size: int
    part_bytes: int
    complete: bool
    file: FileOut | None


@files_router.post(
    "/files",
    response={201: UploadOut | FileOut},
    openapi_extra={
        "requestBody": {
            "content": {
                "application/json": {"schema": UploadBody.model_json_schema()},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": {"type": "string", "format": "binary"}},
                        "required": ["file"],
                    }
                },
            },
            "required": True,
        }
    },
)
def create_file(request: HttpRequest) -> Any:
    member = signed_in_user(request)
    if parsing.media_type(request) == "multipart/form-data":
        sent = parsing.uploaded_file(request)
        file = uploads.create_upload(member, sent.name or "", sent.size or 0)
        return Status(201, file_json(uploads.receive_whole(file, sent.chunks())))
    body = UploadBody.read(parsing.json_body(request))
    file = uploads.create_upload(member, body.name, body.size)
    return Status(201, {"id": str(file.pk), "part_bytes": uploads.part_bytes()})


@files_router.put(
    "/files/{file}/parts/{number}",
    response=FileOut | PartOut,
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "required": True,
        }
    },
)
def put_part(request: HttpRequest, file: str, number: str) -> Any:
    found = uploads.find_upload(signed_in_user(request), parse_id(file))
    if not (number.isascii() and number.isdigit() and len(number) <= PART_DIGITS):
        raise refusals.not_found()
    complete = uploads.receive_part(found, int(number), parsing.raw_chunks(request))
    return file_json(complete) if complete else {"id": str(found.pk), "parts": uploads.stored_parts(found)}


@files_router.get("/files/{file}", response=UploadStateOut)
def read_file(request: HttpRequest, file: str) -> Any:
    member, named = signed_in_user(request), parse_id(file)
    found = uploads.find_incomplete(member, named) or access_file(member, named)
    return {
        "id": str(found.pk),
        "name": found.name,
        "size": found.size,
        "part_bytes": uploads.part_bytes(),
        "parts": uploads.stored_parts(found),
        "complete": found.blob_id is not None,
        "file": file_json(found) if found.blob_id else None,
    }


@files_router.delete("/files/{file}", response={204: None})
def delete_file(request: HttpRequest, file: str) -> Any:
    uploads.delete_upload(signed_in_user(request), parse_id(file))
    return Status(204, None)


def file_json(file: File) -> dict[str, Any]:
    """Return a complete file as clients receive it."""
    return {
        "id": str(file.pk),
        "name": file.name,
        "mime": file.mime,
        "size": file.size,
        "width": file.width,
        "height": file.height,
        "sha256": file.blob_id,
        "given": given_as(file.mime, file.size),
    }
