"""One module, one Lambda function, one endpoint: parse, call a service, answer."""
