"""The style sheet of HTML pages: dark text on white, readable on a phone and on paper, no fonts to load."""

STYLE = """\
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #222;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; overflow-wrap: break-word; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2em 0 0.6em; }
h1 { font-size: 1.8rem; margin-top: 0.5em; }
h2 { font-size: 1.35rem; padding-bottom: 0.25em; border-bottom: 1px solid #ddd; }
h3 { font-size: 1.12rem; }
h4 { font-size: 1rem; }
a { color: #00558c; }
img { max-width: 100%; height: auto; vertical-align: middle; }
code { font: 0.87em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: #f3f4f6; border-radius: 3px; padding: 0.1em 0.3em; }
pre { background: #f3f4f6; border-radius: 4px; padding: 0.8em 1em; overflow-x: auto; }
pre code { padding: 0; }
blockquote { margin: 1em 0; padding: 0.6em 1em; background: #fdf6e3; border-left: 4px solid #b7791f; }
blockquote > :first-child { margin-top: 0; }
blockquote > :last-child { margin-bottom: 0; }
.table { overflow-x: auto; margin: 1em 0; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35em 0.8em; border-bottom: 1px solid #e2e2e2; text-align: left;
  vertical-align: top; overflow-wrap: normal; }
th { border-bottom: 2px solid #bbb; vertical-align: bottom; }
details { margin: 1em 0; }
summary { cursor: pointer; font-weight: 600; }
.missing { color: #8a3b00; font-style: italic; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  main { padding: 1rem 0.9rem 3rem; }
  h1 { font-size: 1.5rem; }
  th, td { padding: 0.3em 0.55em; }
}
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h2, h3, h4 { break-after: avoid; }
  img, tr, blockquote { break-inside: avoid; }
  .table { overflow: visible; }
  a { color: inherit; }
  details::details-content { content-visibility: visible; block-size: auto; }
  img { max-height: 22cm; width: auto; }
}
"""
