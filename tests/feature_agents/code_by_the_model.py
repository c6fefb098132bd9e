"""Lets the model's provider run code, between two texts."""

from _scripted import Part, scripted
from google.genai import types


def code(source):
    return Part(executable_code=types.ExecutableCode(code=source, language="PYTHON"))


def outcome(output, name="OUTCOME_OK"):
    return Part(code_execution_result=types.CodeExecutionResult(outcome=name, output=output))


root_agent = scripted(
    [
        Part(text="I count."),
        code("print(6 * 7)"),
        outcome("42\n"),
        Part(text="And once more."),
        code("1 / 0"),
        outcome("ZeroDivisionError", "OUTCOME_FAILED"),
        Part(text="It is 42."),
    ]
)
