"""How a report looks: one style sheet, light or dark as the reader's system is. Knows nothing of what it dresses."""

STYLE = """
:root { color-scheme: light dark; --page: #faf9f7; --card: #fff; --ink: #22242a; --soft: #6a6f7a; --line: #e4e2dd;
  --model: #2f6fb2; --blind: #b9bfca; --chance: #d97706; --right: #17803d; --wrong: #c02626; --warm: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --page: #17181c; --card: #202227; --ink: #e6e7ea; --soft: #9a9fab;
  --line: #33363d; --model: #6aa8ea; --blind: #565c68; --chance: #f0a13a; --right: #5cc98a; --wrong: #f28b82;
  --warm: #3a3116; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 24px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 0 0 10px; }
h3 { font-size: 16px; margin: 0 0 8px; } h3 small { font-weight: 400; color: var(--soft); margin-left: 8px; }
header p, section > p { color: var(--soft); margin: 2px 0 12px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 18px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 20px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile span, .tile small { display: block; color: var(--soft); font-size: 13px; }
.tile strong { font-size: 27px; font-weight: 650; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); gap: 18px;
  align-items: start; }
.pair > section { margin: 0; } .pair > div { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 6px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; font-size: 13px; } th:first-child, td:first-child { text-align: left; }
tr.sum td { font-weight: 600; border-bottom-width: 2px; }
svg { width: 100%; height: auto; font-size: 12px; } svg text { fill: var(--ink); }
svg .grid { stroke: var(--line); } svg .model { fill: var(--model); } svg .blind { fill: var(--blind); }
svg .whisker { stroke: var(--ink); fill: none; stroke-width: 1.3; }
svg .chance { stroke: var(--chance); stroke-width: 2; }
svg .diagonal { stroke: var(--soft); stroke-dasharray: 5 4; fill: none; }
svg .line { stroke: var(--model); stroke-width: 1.6; fill: none; opacity: .55; } svg .axis { fill: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 20px 28px; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: 13px; margin-top: 4px; }
.legend { color: var(--soft); font-size: 13px; margin: 4px 0; }
.legend i { display: inline-block; width: 14px; height: 10px; margin: 0 6px 0 12px; border-radius: 2px; }
i.model { background: var(--model); } i.blind { background: var(--blind); }
i.chance { background: var(--chance); width: 3px; height: 14px; vertical-align: -2px; }
.warning { background: var(--warm); color: var(--ink); border-radius: 8px; padding: 8px 12px; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--soft); }
article { border-top: 1px solid var(--line); padding: 18px 0 6px; }
.pictures { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; }
.pictures img { background: #fff; border-radius: 6px; max-width: 100%; height: auto; flex: 1 1 340px; min-width: 0; }
.pictures img:first-child { flex-grow: 1.7; }
.answers { columns: 2 440px; column-gap: 28px; list-style: none; padding: 0; margin: 8px 0; font-size: 14px; }
.answers li { break-inside: avoid; padding: 2px 0 2px 12px; border-left: 3px solid var(--line); margin-bottom: 3px; }
.answers span { color: var(--soft); } .answers small { color: var(--soft); }
.answers .right { border-color: var(--right); } .answers .right b { color: var(--right); }
.answers .wrong { border-color: var(--wrong); } .answers .wrong b { color: var(--wrong); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""
