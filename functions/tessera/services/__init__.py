"""The use cases. They orchestrate domain and storage, and know neither HTTP nor boto3."""
