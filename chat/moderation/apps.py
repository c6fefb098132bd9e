from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ModerationConfig(AppConfig):
    name = "chat.moderation"
    verbose_name = _("Moderation")

    def ready(self) -> None:
        from chat import hooks
        from chat.moderation import account_acts, grants, groups, personal_data
        from chat.moderation.models import AccessGrant, Consent, SealedConversation
        from chat.personal_data import on_erasure

        hooks.looks.append(grants.record_look)
        hooks.terminal_opened.append(account_acts.record_terminal)
        hooks.owner_changed.append(account_acts.record_owner)
        on_erasure.append(account_acts.record_erasure)
        for model in (AccessGrant, Consent, SealedConversation):
            hooks.models_of_conversation.append(model)
        personal_data.declare_all()
        post_migrate.connect(groups.make_groups, sender=self)
