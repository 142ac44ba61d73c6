"""LLaVA-3D-7B as a teacher: a language model that looks at posed RGB-D (``specs/llava3d.md``).

Read in this order: ``config``, ``voxels``, ``positions``, ``model``, ``weights``, ``preprocess``, ``prompt``,
``decoding``, ``teacher``. Start with :class:`dollhouse.teachers.llava3d.teacher.LLaVA3DTeacher`.
"""
