"""The OpenAPI document of the API, made from the routes of its functions: ``make openapi`` writes docs/openapi.json.

What a route needs besides its code - its answers, its parameters - is described here and not in the functions: a cold
start would pay for every model of an answer, and no handler uses one. There is one module per area of the API, and a
route without a description, or a description without a route, is an error.
"""
