"""The paper's tables and figures, made again at nano size and measured.

    paper.py          what the paper says, as data
    extent.py         how large everything is: rooms, steps, seeds
    starts.py         students to begin with: the shipped one with other thinking tokens, or with one token a scene
    archive.py        trained models and what was measured of them, kept by content: nothing is made twice
    measuring.py      what is measured of a model, room by room
    paired.py         intervals, of one figure and of differences
    plan.py           which jobs fit the budget, in order of worth
    models.py ... retention.py   one table or figure of the paper each: its jobs, and what is made of them
    report.py         one page with the paper's figures beside ours
    command.py        the verb

Knows everything else of the package; nothing else knows it.
"""
