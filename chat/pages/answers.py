"""View of the form with which a member decides requests."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from chat import refusals
from chat.access import access_conversation, parse_id
from chat.actions import Ask, Stored
from chat.answer_fields import payload_in_form
from chat.http import parsing
from chat.http.members import signed_in_user
from chat.models import PersonRequest
from chat.pages.views import answer_to_form, render_page
from chat.refusals import Refusal
from chat.stream.admission import store_ask
from chat.waiting import Answer


@never_cache
@require_POST
def answer(request: HttpRequest, conversation: str) -> HttpResponse:
    """Store the decisions that a form holds, and redirect to the page, which shows the run that goes on."""
    try:
        stored = _store_answers(request, conversation)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return render_page(request, conversation, refusal)
    return answer_to_form(stored)


def _store_answers(request: HttpRequest, conversation: str) -> Stored:
    member = signed_in_user(request)
    found = access_conversation(member, conversation)
    form = parsing.body_of(request)
    named = {pk: value for name, value in form.items() if (pk := parse_id(name))}
    by_id = {each.pk: each for each in PersonRequest.objects.filter(pk__in=named, run__conversation=found)}
    if not named or by_id.keys() != named.keys():
        raise refusals.not_found()
    answers = [
        Answer(pk, decision, None if decision == "reject" else payload_in_form(by_id[pk], form))
        for pk, decision in named.items()
    ]
    key = parse_id(str(form.get("client_id", "")))
    return store_ask(member, Ask(conversation=found.pk, answers=tuple(answers), client_id=key))
