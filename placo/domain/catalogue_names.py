"""How names, hosts and paths in the catalogue look (regular expressions for a whole text)."""

from __future__ import annotations

NAME = r"[a-z][a-z0-9-]{0,30}"
OPTION_NAME = r"[a-z][a-z0-9_]{0,30}"
HOST = r"\{slug\}-[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?"
MAIL_DOMAIN = rf"\{{slug\}}|{HOST}"
HOST_EXAMPLE = "{slug}-web"
PATH = r"/[A-Za-z0-9_.~{}/-]*"
QUERY_PATH = r"/[A-Za-z0-9_.~{}/-]*(\?[A-Za-z0-9_.~{}/&=%+-]*)?"
PACKAGE = r"[a-z0-9][a-z0-9+.-]+"
ANSWER = rf"{PACKAGE} [a-z0-9][a-z0-9+._/-]+ (string|boolean|select|multiselect) \S[^\x00-\x1f\x7f]*"
OWNER = r"[a-z_][a-z0-9_-]*:[a-z_][a-z0-9_-]*"
FIELD = r"[A-Za-z0-9_.\[\]:-]{1,64}"
MARK = r"[^\x00-\x1f\x7f]{1,200}"
