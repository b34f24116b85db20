"""The only code that knows boto3: the profile table, the registry, the data lake and their formats."""
