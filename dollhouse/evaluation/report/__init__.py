"""HTML reports (:mod:`.render`, :mod:`.charts`), pictures and ``report.json`` (:mod:`.report_schema`)."""
