"""Tables of files: their bytes, stored once for the same content, the files of members, and artifacts."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from chat.models import Conversation, Message, Run, new_id


class Blob(models.Model):
    """Bytes of one content, which all files with this content share.

    Only the sweep deletes one: under the row's lock, an hour after it first found no file that refers to it.
    """

    sha256 = models.CharField(primary_key=True, max_length=64)
    size = models.PositiveBigIntegerField()  # bytes
    # the storage has all of the bytes; None while they are being written, or deleted
    stored_at = models.DateTimeField(null=True, blank=True)
    # None: not tried yet; False: its kind has none
    has_thumbnail = models.BooleanField(null=True, blank=True)
    # the sweep found no file, or an upload is about to refer to it; None while files refer to it
    unused_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        indexes = [
            # the sweep
            models.Index(
                fields=["unused_since"],
                condition=models.Q(unused_since__isnull=False),
                name="files_blob_unused",
            ),
        ]

    def __str__(self) -> str:
        return self.sha256


class File(models.Model):
    """Named bytes of a member: uploaded by the member, or made by an agent for the member.

    An uploaded one is unused until a message has it; one that an agent made has a run. ``conversation`` is
    None for an unused one, and for an artifact of all the member's conversations with an agent.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, blank=True, related_name="+")
    message = models.ForeignKey(Message, models.CASCADE, null=True, blank=True, related_name="+")
    # the run that made it; a ``user:`` artifact outlives the run's conversation
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="+")
    blob = models.ForeignKey(Blob, models.PROTECT, null=True, blank=True, related_name="files")
    name = models.CharField(max_length=255)
    # by its content (kinds.py), empty while it is incomplete
    mime = models.CharField(max_length=127, blank=True)
    size = models.PositiveBigIntegerField()  # bytes; announced, until it is complete
    width = models.PositiveIntegerField(null=True, blank=True)  # pixels, of pictures
    height = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # a request has begun to assemble its parts
    assembling_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        indexes = [
            # the unused uploads that are too old
            models.Index(
                fields=["created_at"],
                condition=models.Q(message=None, run=None),
                name="files_file_unused",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(message=None) | models.Q(run=None), name="files_file_one_origin"
            ),
            # what is used is complete
            models.CheckConstraint(
                condition=models.Q(message=None, run=None) | models.Q(blob__isnull=False),
                name="files_file_used_is_complete",
            ),
            models.CheckConstraint(
                condition=models.Q(message=None) | models.Q(conversation__isnull=False),
                name="files_file_of_conversation",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)  # logs show it: no name

    def as_item(self) -> dict[str, object]:
        """Return the fields that clients receive: of the event ``file``, and of an item of parts."""
        return {
            "file": str(self.pk),
            "name": self.name,
            "mime": self.mime,
            "size": self.size,
            "width": self.width,
            "height": self.height,
        }


class UploadPart(models.Model):
    """Part of an upload that is not complete; its bytes are in the storage.

    The row is committed before the bytes are written, and deleted after them, so no part is forgotten.
    """

    file = models.ForeignKey(File, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()  # from 0
    size = models.PositiveIntegerField()  # bytes
    stored_at = models.DateTimeField(null=True, blank=True)  # the storage has all of them

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="files_part_number")]

    def __str__(self) -> str:
        return f"{self.number} of {self.file_id}"


class Artifact(models.Model):
    """Version of an artifact: a file that an agent saved under a name, with ADK's artifact service.

    Versions begin at 0. Those without a conversation are ADK's ``user:`` ones, shared by all conversations of
    the member with the agent. A version belongs to the attempt of the run that saved it; one of an abandoned
    attempt keeps its number, and is on no branch.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    agent = models.CharField(max_length=128)
    conversation = models.ForeignKey(Conversation, models.CASCADE, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=512)
    version = models.PositiveIntegerField()
    # None for a reference to another artifact or to a file elsewhere
    file = models.OneToOneField(File, models.CASCADE, null=True, blank=True, related_name="artifact")
    # ADK's part without its bytes, as JSON: what ``load_artifact`` returns besides them
    part = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict)  # the author's own
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="+")
    attempt = models.PositiveIntegerField(default=0)  # Run.attempt when it was saved
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "agent", "conversation", "name", "version"],
                condition=models.Q(conversation__isnull=False),
                name="files_artifact_version",
            ),
            models.UniqueConstraint(
                fields=["owner", "agent", "name", "version"],
                condition=models.Q(conversation=None),
                name="files_artifact_of_member",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version} of {self.pk}"
