"""Uploads by a test's client, and the objects in the storage of files."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.client import Answer, Client


def picture(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "#36c").save(buffer, kind, **options)
    return buffer.getvalue()


PNG = picture(2, 1)


async def announce(client: Client, name: str, size: int) -> dict[str, Any]:
    answer = await client.post("/api/v1/files", {"name": name, "size": size})
    assert answer.status == 201, answer.body
    return answer.json()  # type: ignore[no-any-return]


async def put_part(client: Client, file: str, number: int, data: bytes) -> Answer:
    return await client.request("PUT", f"/api/v1/files/{file}/parts/{number}", body=data)


async def send(client: Client, name: str, data: bytes) -> dict[str, Any]:
    """Upload a file, and return it as the last part's answer describes it."""
    upload = await announce(client, name, len(data))
    step = upload["part_bytes"]
    for number in range(-(-len(data) // step)):
        answer = await put_part(client, upload["id"], number, data[number * step : (number + 1) * step])
        assert answer.status == 200, answer.body
    return answer.json()  # type: ignore[no-any-return]


def stored_names() -> set[str]:
    """Return the names of all objects in the storage, temporary ones included."""
    from chat.files.blobs import storage

    root = Path(storage().path(""))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
