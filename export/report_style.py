"""How the report looks: one column, quiet, in light and dark; no script and nothing from elsewhere."""

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #5c6570; --line: #e2e4e7; --mark: #2563a8;
  --good: #1a7f43; --good-back: #e3f4e9; --bad: #b3261e; --bad-back: #fbe6e4; --warn: #8a5a00; --warn-back: #fbf0d9; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171a; --card: #1c2024; --ink: #e6e8ea; --soft: #9aa3ad; --line: #32383e; --mark: #7db4ec;
  --good: #6fce95; --good-back: #173524; --bad: #ff9a90; --bad-back: #43201d; --warn: #efc06a; --warn-back: #3b2d10; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 8px; }
h2 { font-size: 18px; margin: 40px 0 10px; }
h3 { font-size: 15px; margin: 22px 0 8px; }
p, ul { margin: 6px 0; }
ul { padding-left: 20px; }
.soft { color: var(--soft); }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere; }
.pill { display: inline-block; padding: 2px 10px; border-radius: 99px; font-weight: 600; font-size: 13px;
  white-space: nowrap; }
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.warn { color: var(--warn); background: var(--warn-back); }
.box { border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 9px; text-align: right; border-top: 1px solid var(--line); white-space: nowrap; }
tr:first-child > th { border-top: 0; }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; }
td.text, th.text { text-align: left; }
small { font-size: 12px; color: var(--soft); }
details { border: 1px solid var(--line); border-radius: 8px; background: var(--card); margin: 10px 0; }
summary { cursor: pointer; padding: 10px 14px; font-weight: 600; }
details > div { padding: 0 14px 14px; }
.faces { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 6px; max-width: 860px; margin: 8px 0; }
.faces figure { margin: 0; }
.faces img { width: 100%; display: block; border-radius: 4px; }
.faces img.low { image-rendering: pixelated; }
figcaption { font-size: 12px; color: var(--soft); }
svg { display: block; width: 100%; height: auto; max-width: 860px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg text.soft { fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .gate { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .bar { fill: var(--mark); }
svg .line { stroke: var(--mark); stroke-width: 2; }
svg .failed { fill: var(--bad); }
svg .failed-line { stroke: var(--bad); stroke-width: 2; }
@media (max-width: 640px) { .faces { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
"""
