"""Runs the model's code in an executor that reports an error."""

from _scripted import scripted
from google.adk.code_executors import BaseCodeExecutor
from google.adk.code_executors.code_execution_utils import CodeExecutionResult


class Elsewhere(BaseCodeExecutor):
    def execute_code(self, invocation_context, code_execution_input):
        return CodeExecutionResult(stderr="NameError: name 'total' is not defined", exit_code=1)


source = "```python\nprint(total)\n```"
root_agent = scripted(source, "The name is missing.", code_executor=Elsewhere())
