"""Has a callback that signs each whole text, so that the fragments differ from it."""

from _scripted import scripted


def sign(callback_context, llm_response):
    if not llm_response.partial:
        llm_response.content.parts[-1].text += " Signed, the office."
    return llm_response


root_agent = scripted("Your form is accepted.", after_model_callback=sign)
