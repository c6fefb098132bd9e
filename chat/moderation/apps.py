from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ModerationConfig(AppConfig):
    name = "chat.moderation"
    verbose_name = _("Moderation")

    def ready(self) -> None:
        from chat import hooks
        from chat.moderation import account_acts, grants, groups, personal_data, reports, watching
        from chat.moderation.models import (
            AccessGrant,
            Consent,
            Decision,
            HiddenMessage,
            HiddenRun,
            HiddenTitle,
            ReviewItem,
            SealedConversation,
        )
        from chat.personal_data import on_erasure

        hooks.looks.append(grants.record_look)
        hooks.watches.append(watching.is_watcher)
        hooks.terminal_opened.append(account_acts.record_terminal)
        hooks.owner_changed.append(account_acts.record_owner)
        on_erasure.append(account_acts.record_erasure)
        hooks.message_rated.append(reports.report_feedback)
        hooks.run_blocked.append(reports.report_block)
        of_conversation = (
            AccessGrant, Consent, Decision, ReviewItem, HiddenMessage, HiddenRun, HiddenTitle,
            SealedConversation,
        )  # fmt: skip
        for model in of_conversation:
            hooks.models_of_conversation.append(model)
        personal_data.declare_all()
        post_migrate.connect(groups.make_groups, sender=self)
