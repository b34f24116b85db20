"""The CDK app: what Tessera is made of in AWS, and on the local cloud from the same code."""
