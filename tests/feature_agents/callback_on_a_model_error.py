"""Has a callback that answers when the model raises."""

from _scripted import response, scripted


def make_up(callback_context, llm_request, error):
    return response(f"The model was away ({type(error).__name__}).")


root_agent = scripted(ConnectionError("gone"), on_model_error_callback=make_up)
