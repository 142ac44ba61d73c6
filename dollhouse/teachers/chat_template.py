"""Render a model's chat template in a process of its own, with limits of time, memory and output.

A template is a program of others. The sandbox of transformers keeps it away from the machine, but not from long loops.
"""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

from dollhouse.errors import TeacherError

SECONDS = 10  #: of computing, for one group of questions
MEMORY_BYTES = 2 << 30
MAX_CHARACTERS = 8 << 20  #: of all prompts of a group


class ChatTemplate:
    """A chat template and the variables it may use; :meth:`render` is called in the process that annotates."""

    def __init__(self, template: str, variables: Mapping[str, Any]) -> None:
        self.settings = {"template": template, "variables": dict(variables)}
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, chats: Sequence[Any]) -> list[str]:
        """Return the prompt of each chat. Raises TeacherError for a template that fails or exceeds a limit."""
        process = self._process
        if process is None or process.poll() is not None:
            command = [sys.executable, "-m", __name__]
            pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
            process = self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)
            weakref.finalize(self, process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        # a photo becomes "<Image>", as where transformers renders
        values = {**self.settings, "chats": chats, "seconds": SECONDS}
        request = json.dumps(values, default=lambda value: f"<{type(value).__name__}>")
        try:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            process.kill()
            raise TeacherError(f"the model's chat template computes for more than {SECONDS} s; correct it") from None
        if "fault" in answer:
            raise TeacherError(f"the model's chat template fails: {answer['fault']}")
        prompts: list[str] = answer["prompts"]
        return prompts


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests, a line each; the system ends the process where one takes too long."""
    import resource
    import signal

    from transformers.utils.chat_template_utils import render_jinja_template

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            template, chats, variables = request["template"], request["chats"], request["variables"]
            prompts, _ = render_jinja_template(chats, chat_template=template, add_generation_prompt=True, **variables)
            long = sum(map(len, prompts)) > MAX_CHARACTERS
            answer = {"fault": f"more than {MAX_CHARACTERS:,} characters"} if long else {"prompts": prompts}
        except Exception as error:  # whatever a template does
            answer = {"fault": " ".join(str(error).split())[:200] or type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
