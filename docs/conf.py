"Sphinx's settings. docs/build.py writes what it reads."
import re
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from nbdev.config import get_config

config = get_config()
project, author, html_title, language = config.title, config.author, config.title, "en"
copyright = config.copyright
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "sphinx_togglebutton"]
exclude_patterns = ["parts"]

nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show source", "Hide source"
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"

smartquotes = False  # quotes and dots in comments and docstrings are code as often as prose

html_theme = "sphinx_book_theme"
html_static_path, html_css_files, html_favicon = ["_static"], ["anira.css"], "_static/favicon.svg"
html_copy_source = html_show_sourcelink = html_domain_indices = False
html_context = dict(default_mode="auto")
html_theme_options = dict(repository_url=config.git_url, use_repository_button=True, use_download_button=False, use_fullscreen_button=False,
                          logo=dict(text=config.title, image_light="_static/favicon.svg", image_dark="_static/favicon.svg", alt_text=""), navbar_persistent=[], show_navbar_depth=1, show_toc_level=2)

def setup(app):
    "Math becomes MathML, which spaces and stretches operators by itself, while the site is built, so that no page needs a script or a font for it."
    def render(display):
        def visit(self, node):
            self.body.append(tex2mathml(re.sub(r"\\(mathrel|mathbin|mathop|middle)\b", "", node.astext()), as_block=display))
            raise nodes.SkipNode
        return visit, None
    app.add_html_math_renderer("mathml", render(False), render(True))
