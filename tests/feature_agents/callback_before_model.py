"""Has a callback that answers for the model."""

from _scripted import response, scripted


def answer(callback_context, llm_request):
    return response("From the callback.")


root_agent = scripted("Never said.", before_model_callback=answer)
