"""Runs the model's code in an executor of its own, which makes a file."""

from _scripted import scripted
from google.adk.code_executors import BaseCodeExecutor
from google.adk.code_executors.code_execution_utils import CodeExecutionResult, File


class Elsewhere(BaseCodeExecutor):
    def execute_code(self, invocation_context, code_execution_input):
        file = File(name="chart.csv", content="a,b\n1,2\n", mime_type="text/csv")
        return CodeExecutionResult(stdout="seventeen\n", output_files=[file])


source = "I run this:\n```python\nprint(17)\n```\n"
root_agent = scripted(source, "It printed seventeen.", code_executor=Elsewhere())
