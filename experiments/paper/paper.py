"""What the paper says: every figure of its tables, and why it can or cannot be set beside ours.

Source: arXiv 2605.09719, Tables I to V, Figs. 2 to 4 and section IV. Knows nothing of how ours are made.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "Distilling 3D Spatial Reasoning into a Lightweight Vision-Language Model with CoT (arXiv 2605.09719)"


@dataclass(frozen=True)
class PaperTable:
    """A table as it is printed there; ``comparable`` says in a sentence or two what may be compared with ours."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    comparable: str


MODELS = PaperTable(
    columns=("model", "ROUGE-1", "spatial", "FPS", "GB"),
    rows=(
        ("LLaVA-3D-7B (teacher)", 1.000, 1.00, 0.0075, 26.7),
        ("LLaVA-v1.5-7B", 0.045, 0.28, 0.008, 26.7),
        ("MobileVLM-2B", 0.052, 0.31, 0.072, 7.5),
        ("PaliGemma-3B", 0.061, 0.35, 0.055, 11.2),
        ("student 2.29B", 0.119, 0.64, 0.065, 8.7),
    ),
    comparable=(
        "The order of the rows may be compared, no figure: other rooms, other sizes, and the paper counts an answer as "
        "spatially right when student and teacher both use words such as “near” or “on”, where ours is judged by "
        "geometry. Its other students are models that we do not have; ours are the same student with parts taken away."
    ),
)

TEXTS = PaperTable(
    columns=("score", "student"),
    rows=(
        ("BLEU-1", 0.027),
        ("ROUGE-1", 0.119),
        ("ROUGE-1 precision", 0.397),
        ("ROUGE-1 recall", 0.085),
        ("ROUGE-L", 0.107),
        ("METEOR", 0.068),
        ("words, student", 8.2),
        ("words, teacher", 63.5),
    ),
    comparable=(
        "The same scores by the same programs, of other texts: descriptions of made rooms have one pattern, so ours "
        "are far higher. What can be compared is how much of a score is length: see the length-normalised columns."
    ),
)

FAMILIES = PaperTable(
    columns=("family", "student / teacher"),
    rows=(("proximity", 0.68), ("contact", 0.72), ("size", 0.54), ("orientation", 0.61), ("overall", 0.64)),
    comparable=(
        "The families are the same by name. The paper calls the teacher right by definition and looks for keywords in "
        "both answers; ours is the ratio of two accuracies, each judged by geometry."
    ),
)

LOSSES = PaperTable(
    columns=("row", "val loss", "ROUGE-1", "spatial", "depth RMSE"),
    rows=(
        ("all losses", 6.45, 0.119, 0.64, 0.23),
        ("+ Hidden CoT", 4.79, 0.148, 0.71, 0.21),
        ("without detection", 6.78, 0.108, 0.58, 0.25),
        ("without depth", 6.92, 0.095, 0.52, 0.31),
        ("without spatial", 6.65, 0.112, 0.59, 0.24),
        ("without multi-view", 6.58, 0.115, 0.61, 0.24),
        ("without feature", 6.71, 0.102, 0.56, 0.26),
        ("static weights", 6.89, 0.097, 0.55, 0.27),
    ),
    comparable=(
        "The sign of each difference may be compared, no size: the paper gives neither seeds nor intervals, in its "
        "code multi-view and feature losses are the constant 2.5 and detection targets are zeros, and its validation "
        "loss is a sum of other losses than ours."
    ),
)

THINKING = PaperTable(
    columns=("K", "best val loss"),
    rows=((2, 5.21), (4, 4.95), (8, 4.79), (16, 4.84)),
    comparable=(
        "Only whether more thinking tokens help: the paper's loss is a weighted sum, ours the text loss alone; and it "
        "shows neither K = 0 nor any control."
    ),
)

THINKING_FORMS = PaperTable(
    columns=("form", "what the paper shows"),
    rows=(("tokens before the question, learning from answers alone", "Table III"),),
    comparable="Not at all: the paper has the one form.",
)

CONTROLS = PaperTable(
    columns=("control", "what the paper shows"),
    rows=(("all", "none"),),
    comparable=(
        "Not at all: the paper has no controls. Papers of 2026 that made them (2605.21642, 2605.18445, 2606.01287) "
        "find that latent tokens mostly carry no content."
    ),
)

EFFICIENCY = PaperTable(
    columns=("model", "ms a sample", "GB", "peak GPU GB"),
    rows=(
        ("LLaVA-3D-7B (teacher)", 133_611, 26.7, "–"),
        ("student 2.29B", 15_330, 8.7, 5.2),
        ("ratio", 8.72, 3.07, "–"),
    ),
    comparable=(
        "The ratios may be compared, with care: the paper's milliseconds are of an H100, and 15 s an answer is far "
        "slower than a model of this size needs there. Ours are teacher and student on one machine, asked in turn the "
        "same questions, made to say the same number of tokens, with the same decoding."
    ),
)

CASES = PaperTable(
    columns=("case", "what the paper shows"),
    rows=(
        ("success", "one scene in words where the student says what the teacher says"),
        ("failure", "one scene in words where it does not"),
    ),
    comparable="Both are single cases, chosen; they show what answers look like and prove nothing.",
)

CURVE = PaperTable(
    columns=("figure", "what the paper shows"),
    rows=(("Fig. 3", "training loss over steps"),),
    comparable="The shape may be compared; the losses are others.",
)

DIAGNOSIS = PaperTable(
    columns=("figure", "what the paper shows"),
    rows=(("Fig. 4", "an answer without and with the thinking tokens' most likely words"),),
    comparable=(
        "The same read-out. No loss ever asked a thinking token for a word, in the paper as here, so what is read "
        "there is an untrained read-out: it must not be taken for a thought."
    ),
)
