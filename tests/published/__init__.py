"""What Adobe publishes of the API, as facts: methods, names, types and what is required; and what we do otherwise.

``profile.json``, ``computed_attributes.json``, ``catalog.json`` and ``batch_ingestion.json`` hold, by path and method,
``query`` and ``headers`` (name to type), and the fields of a body and of the answers by status. A field is a dotted
path, ``*`` standing for the items of an array or the values of a map, ``""`` for the whole; its type is one of JSON
Schema's, or a list of the values it may have. What is required ends in ``!``. ``differences.json`` says of each
difference why it is one.
"""
