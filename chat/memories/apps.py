from django.apps import AppConfig
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class MemoriesConfig(AppConfig):
    name = "chat.memories"
    verbose_name = _("What agents remember")

    def ready(self) -> None:
        from chat import hooks
        from chat.memories.models import Memory, MemoryOptOut
        from chat.personal_data import Export, declare

        hooks.models_of_conversation.append(Memory)
        declare(
            Memory,
            "owner",
            export=Export(
                "memories",
                "id agent conversation text author metadata created_at edited_at",
                where=Q(run__prompt__hidden_at=None, run__reply__hidden_at=None),
            ),
        )
        declare(MemoryOptOut, "owner", export=Export("memory_opt_out", "opted_out_at"))
