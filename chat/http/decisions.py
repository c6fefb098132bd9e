"""Decisions of an approver, from a body or a form."""

from django.utils.translation import gettext as _

from accounts.models import User
from chat import actions, refusals
from chat.agent.agents.changed import changed_refusal
from chat.models import Run
from chat.runs.supervisor import supervisor
from chat.waiting import Answer


def store_decision(approver: User, answer: Answer) -> Run | None:
    """Store it. Call it on a thread, and ``supervisor.launch`` the run, if one goes on."""
    refusal = changed_refusal([answer])
    if supervisor.draining:
        refusal = refusals.unavailable(_("This server is about to restart."))
    return actions.decide_as_approver(approver, answer, refusal=refusal)
