"""Static files under names that carry their content's hash, JavaScript imports included."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True  # Django's own, still off by default in 5.2
