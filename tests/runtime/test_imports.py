"""What answering by exported graphs imports."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "scipy", "matplotlib")
CODE = """
import sys
import dollhouse.cli
import dollhouse.inference.pipeline, dollhouse.inference.onnx_session
from dollhouse.questions.wording import normalise_question
from dollhouse.scenes.open import open_scene
open_scene(sys.argv[1], skip_bad=True).read_sample(4, True)
normalise_question("How many chairs are there?")
print(" ".join(name for name in sys.argv[2:] if name in sys.modules))
"""


def test_the_onnx_engine_imports_no_torch(tmp_path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path), *HEAVY], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
