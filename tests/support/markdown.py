"""Markdown texts for the rendering tests, one for each kind of element."""

DOCUMENTS = {
    "plain": "Hello\nworld\n\nsecond *para*\n",
    "no_newline_at_end": "Hello **bold** and `code`",
    "headings": "# A\ntext\n\nSetext\n======\n\nmore\n---\n\n## B\n\n---\n\nend\n",
    "nested_lists": "1. one\n   - a\n     - deep\n\n       para in deep\n   - b\n2. two\n\n   ```py\n   x = 1\n\n   y = 2\n   ```\n\n3. three\n\nafter\n",
    "loose_then_tight": "- a\n- b\n\n- c\n\ntext\n\n* other\n* list\n+ third\n\n1. x\n1) y\n",
    "tasks": "- [x] done\n- [ ] todo\n  - [x] sub\n\nok\n",
    "fences": "```python\ndef f():\n\n    return '```'\n```\ntext right after\n\n~~~~\n~~~\nnot closed\n~~~~\n\n```\nunclosed\n\n# not a heading\n",
    "fence_info": "```js {1,3} title=x\nlet a = 1 < 2;\n```\n\n    indented\n\n    code\n\nend\n",
    "table": "Intro\n\n| a | b |\n|:--|--:|\n| 1 | **x** |\n| 2 | `y\\|z` |\n\nafter\n\n| not | table\nx\n",
    "table_then_para": "| a | b |\n|---|---|\n| 1 | 2 |\nlazy row\n\nend\n",
    "quotes": "> q1\nlazy\n> - list\n>   ```\n>   code\n\n> [!WARNING]\n> careful\n\npara\n> q3\n",
    "backward_refs": "[one]: https://a.example/1 'T'\n[two]:\n  /two\n\nSee [one], [Two][two] and [ONE][].\n\n- item [two]\n\nlast [one]\n",
    "forward_refs": "See [later] and [other][later].\n\nmiddle\n\n[later]: https://b.example/\n",
    "footnotes": "Claim[^1] and[^n].\n\n[^1]: The note\n    continued\n\n[^n]: other\n\nend\n",
    "html": "<div class=x>\nraw\n\n</div>\n\nVec<String> and <br> H<sub>2</sub>O\n\n<!-- c\n\nc2 -->\n\n<script>\n\nalert(1)\n\n</script>\nend\n",
    "math": "Euler $e^{i\\pi}+1=0$ costs $5 and \\(a<b\\).\n\n$$\nx\n- y\n+ z\n$$\n\n\\[\n\\frac{1}{2}\n\\]\n\n1. step\n   $$\n   q\n   $$\n2. next\n\n$$\nnever closed\n\npara\n",
    "math_abort": "$$\na\n\nb\n$$\nc\n\nd\n",
    "links": 'https://ex.org/a_(b)?q=1, <https://auto.example> [t](https://x.y "T") [bad](javascript:alert(1)) ![img](https://e.x/i.png) me@x.org\n',
    "hard_breaks": "line one  \nline two\\\nline three\n\n\n\nspaced\n",
    "unicode": "# 日本語 😀\n\n**中文。** עברית *العربية*\n\n- ① café\n\n| ключ | 値 |\n|--|--|\n| é | 🚀 |\n\nfin\n",
    "crlf": "a\r\nb\r\n\r\n- x\r\n- y\r\n\r\n```\r\ncode\r\n```\r\nend\r\n",
    "emphasis_mess": "**bold *both* bold** _a_ __b__ ~~c~~ *unclosed and `tick\n\n2 * 3 * 4 snake_case_name\n",
    "llm_answer": "Sure! Here's **how**:\n\n### 1. Install\n\n```bash\npip install django\n```\n\n### 2. Use\n\n1. **First**: do `x`\n   ```py\n   print(1)\n   ```\n2. **Second**:\n\n   | k | v |\n   |---|---|\n   | a | 1 |\n\n> Note: done.\n\n---\n\nAnything else?\n",
    "ref_like": '[not a def]: \n\n[x]: /u\n"title\ncontinues\n\n[x]\n',
    "list_then_code": "- a\n\n      code in item\n\n    not code?\n\n\n    code after\n\np\n",
    "entities": "&lt;b&gt; &amp; &copy; <b>bold</b> a<b && c>d \\*esc\\*\n",
}

# A later line defines a link or a footnote of an earlier one: the whole text differs from the closed blocks.
FORWARD = {"forward_refs", "footnotes"}

# A typical answer of a model, with a bit of everything.
ANSWER = (
    "Sure! Here is **how** it works, with `code` and a [link](https://a.example/x) in *one* line.\n\n"
    "### 1. Install\n\n```bash\npip install django  # **not** bold\n```\n\n### 2. Use\n\n"
    "1. **First**: do `x`, ~~not~~ `y`\n2. **Second**: $x^2$ and \\(a_1 < b\\)\n\n"
    "$$\n\\frac{1}{2}\n$$\n\n| key | value |\n|:--|--:|\n| **a** | 1 |\n| `b` | 2 |\n\n"
    "> A *quoted* **word**.\n\n- [x] done\n- [ ] to do\n\n"
    "![An image](https://a.example/i.png)\n\nThe **end**.\n"
)
