"""Hostile files: each is uploaded and served safely, and no request waits for it."""

import asyncio
import gc
import gzip
import io
import random
import struct
import time
import zipfile
import zlib
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.files import PNG, picture, send, stored_names

HTML = b"<!doctype html><script>parent.pwned = 1</script><img src=x onerror=alert(1)>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
JS = b"=1;alert(document.cookie)//"
SHOWN = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "application/pdf"}
STALL_SECONDS = 0.1  # of CPU, between two turns of the event loop: the machine of the tests is shared


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG of any announced size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def noise(number: int, size: int = 4096) -> bytes:
    return random.Random(number).randbytes(size)


GIF, JPEG, WEBP = picture(3, 3, "GIF"), picture(3, 3, "JPEG"), picture(3, 3, "WEBP")
BOMB = gzip.compress(bytes(50_000_000))
ZEROS = zlib.compress(bytes(30_000_000))

HOSTILE: dict[str, tuple[str, bytes]] = {
    # pages and scripts
    "html": ("a.html", HTML),
    "html as png": ("a.png", HTML),
    "html as pdf": ("a.pdf", HTML),
    "html as mp4": ("a.mp4", HTML),
    "html after spaces": ("a.gif", b" " * 2000 + HTML),
    "html with a mark of order": ("a.jpg", b"\xef\xbb\xbf" + HTML),
    "html in utf-16": ("a.html", HTML.decode().encode("utf-16")),
    "html in utf-7": ("a.html", b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-"),
    "xhtml": ("a.xhtml", b'<html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>'),
    "mhtml": ("a.mht", b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n" + HTML),
    "svg": ("a.svg", SVG),
    "svg as png": ("a.png", SVG),
    "svg compressed": ("a.svgz", gzip.compress(SVG)),
    "xml with a stylesheet": ("a.xml", b'<?xml-stylesheet href="javascript:alert(1)"?><a/>'),
    "xml that grows": (
        "a.xml",
        b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 99 + b'">]><a>' + b"&b;" * 999 + b"</a>",
    ),
    "xml with a file": ("a.xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
    "script": ("a.js", b"alert(1)"),
    "module": ("a.mjs", b"export default alert(1)"),
    "manifest of a cache": ("a.appcache", b"CACHE MANIFEST\n/"),
    "flash": ("a.swf", b"FWS\x06" + noise(1)),
    "java": ("a.jar", b"\xca\xfe\xba\xbe" + noise(2)),
    "windows program": ("a.exe", b"MZ" + noise(3)),
    "linux program": ("a", b"\x7fELF" + noise(4)),
    "shell": ("a.sh", b"#!/bin/sh\nrm -rf /"),
    "shortcut": ("a.url", b"[InternetShortcut]\nURL=javascript:alert(1)"),
    "formula": ("a.csv", b"=cmd|' /C calc'!A0"),
    # two kinds in one
    "gif and script": ("a.js", b"GIF89a" + JS),
    "whole gif and html": ("a.html", GIF + HTML),
    "jpeg and html": ("a.html", JPEG + HTML),
    "jpeg and zip": ("a.zip", JPEG + zipped(a=b"x")),
    "png and html": ("a.html", PNG + HTML),
    "png and script in a comment": ("a.html", png(1, 1, chunk(b"tEXt", b"Comment\0" + HTML))),
    "webp and html": ("a.html", WEBP + HTML),
    "pdf and html": ("a.html", b"%PDF-1.7\n" + HTML),
    "pdf with a script": (
        "a.pdf",
        b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>\n%%EOF",
    ),
    "pdf later": ("a.pdf", HTML + b"%PDF-1.7\n"),
    "zip and html": ("a.html", zipped(a=b"x") + HTML),
    "sound and html": ("a.html", b"ID3\x04\0\0\0\0\0\0" + HTML),
    "video and html": ("a.html", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + HTML),
    # bombs
    "gzip bomb": ("a.gz", BOMB),
    "zip bomb": ("a.zip", zipped(a=bytes(50_000_000))),
    "zip of many": ("a.zip", zipped(**{f"f{n}": b"" for n in range(5000)})),
    "docx bomb": ("a.docx", zipped(word__document=b"x", **{"word__document.xml": bytes(50_000_000)})),
    "docx that is none": ("a.docx", zipped(a=b"x")),
    "docx cut": ("a.docx", zipped(**{"word__document.xml": b"<w/>" * 999})[:-30]),
    "pixel bomb": ("a.png", png(50_000, 50_000, chunk(b"IDAT", ZEROS))),
    "small pixel bomb": ("a.png", png(20_000, 8_000, chunk(b"IDAT", ZEROS))),
    "largest sides": ("a.png", png(2**31 - 1, 2**31 - 1)),
    "no pixels": ("a.png", png(0, 0)),
    "text bomb in a png": ("a.png", png(1, 1, chunk(b"zTXt", b"a\0\0" + ZEROS), chunk(b"IDAT", b""))),
    "profile bomb in a png": ("a.png", png(1, 1, chunk(b"iCCP", b"a\0\0" + ZEROS), chunk(b"IDAT", b""))),
    "gif of many pictures": ("a.gif", GIF[:-1] + GIF[13:-1] * 2000 + b";"),
    "gif with large sides": ("a.gif", b"GIF89a\xff\xff\xff\xff" + GIF[10:]),
    # broken
    "png cut": ("a.png", picture(300, 300)[:200]),
    "png of noise": ("a.png", PNG[:33] + noise(5)),
    "jpeg cut": ("a.jpg", picture(300, 300, "JPEG")[:400]),
    "jpeg of noise": ("a.jpg", JPEG[:20] + noise(6)),
    "webp of noise": ("a.webp", WEBP[:30] + noise(7)),
    "avif of noise": ("a.avif", picture(8, 8, "AVIF")[:60] + noise(8)),
    "mp4 of noise": ("a.mp4", b"\0\0\0\x18ftypmp42" + noise(9)),
    "noise": ("a.png", noise(10, 300_000)),
    "one byte": ("a.png", b"\0"),
    # names
    "path": ("../../../../etc/cron.d/a", b"* * * * * root id"),
    "path of windows": ("..\\..\\a.bat", b"@echo off"),
    "right to left": ("invoice\u202egnp.exe", b"MZ"),
    "invisible": ("a\u200b\u2060.html\ufeff", HTML),
    "new lines": ("a.txt\r\nContent-Type: text/html\r\n\r\n<script>", b"hello"),
    "quotes": ('a"; filename="b.html', HTML),
    "device": ("CON", b"hello"),
    "hidden": (".htaccess", b"AddType text/html .txt"),
}


def test_there_are_enough_hostile_files() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_file_is_served_safely(as_alice: Client, as_bob: Client, kind: str) -> None:
    name, data = HOSTILE[kind]
    file = await unstalled(send(as_alice, name, data))
    assert "/" not in file["name"]
    assert not set(file["name"]) & set("\r\n\u202e\u2028\\")
    answer = await as_alice.get(f"/files/{file['id']}/x")
    assert (answer.status, answer.body) == (200, data)
    policy, kind_sent = answer.headers["content-security-policy"], answer.headers["content-type"]
    if kind_sent == "application/pdf":
        assert data.startswith(b"%PDF-")
        assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    else:
        assert policy == "sandbox; default-src 'none'"
    is_shown = kind_sent in SHOWN or kind_sent.startswith(("audio/", "video/"))
    assert is_shown or kind_sent == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("inline" if is_shown else "attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    thumbnail = await unstalled(as_alice.get(f"/thumbnails/{file['id']}"))
    assert thumbnail.status in (200, 404)
    assert (await as_bob.get(f"/files/{file['id']}/x")).status == 404
    assert all(name.startswith(("blobs/", "thumbnails/")) for name in stored_names())


async def unstalled(work: Any) -> Any:
    """Do ``work``; fail if the event loop is kept for STALL_SECONDS by one piece of it."""
    gc.disable()  # a collection walks all that the tests have loaded; the server freezes that
    try:
        task = asyncio.ensure_future(work)
        longest, last = 0.0, time.thread_time()
        while not task.done():
            await asyncio.sleep(0.01)
            now = time.thread_time()
            longest, last = max(longest, now - last), now
    finally:
        gc.enable()
    assert longest < STALL_SECONDS
    return task.result()
