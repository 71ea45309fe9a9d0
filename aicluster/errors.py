"""The one exception of the package."""


class SiteError(ValueError):
    """One sentence `<object> <value>: <rule>; <fix>` about what the site says."""
