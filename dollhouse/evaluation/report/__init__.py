"""HTML reports, pictures and ``report.json``.

Pages come from one engine, :mod:`dollhouse.evaluation.report.render`: ``render_report(template, context)`` for the
pages of this package, ``render_sections(title, sections)`` with ``Section``, ``Table``, ``Chart`` and ``Note`` for any
other page. :mod:`dollhouse.evaluation.report.charts` has the palette, ``new_axes``, ``plain_axes`` and ready charts.
"""
