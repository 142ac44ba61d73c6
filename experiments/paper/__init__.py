"""The paper's tables and figures, made again at nano size and measured.

    paper.py          what the paper says, as data
    extent.py         how large everything is: rooms, steps, seeds
    starts.py         students to begin with: the shipped one with other thinking tokens, or with one token a scene
    archive.py        trained models and what was measured of them, kept by content: nothing is made twice
    measuring.py      what is measured of a model, room by room
    measured.py       the same read back, as statistics over rooms
    paired.py         intervals, of one figure and of differences; detections.py: of mean average precision
    table.py          rows, sentences, and the paper's table beside them
    plan.py           which jobs fit the budget, in order of worth
    bench.py          what all tables share: who is compared, and how a run becomes a job
    models.py (I)  ablation.py (II)  thinking.py and controls.py (III)  efficiency.py (IV, Fig. 2)  cases.py (V)
    curve.py (Fig. 3)  diagnosis.py (Fig. 4)  descriptions.py (section IV)  retention.py
                      a table or figure each: its jobs, and what is made of them
    report.py         one page with the paper's figures beside ours
    command.py        the verb

Knows everything else of the package; nothing else knows it.
"""
