"""The nano teacher: LLaVA-3D's own class at nano size, trained on made rooms, so that there is one to distil from.

Here LLaVA-3D is the one that learns, from the boxes of rooms; afterwards it is a teacher like any other
(``dollhouse label --teacher llava3d:FOLDER``). Read in this order: ``recipe``, ``words``, ``lessons``, ``readouts``,
``learner``, ``run``.
"""
