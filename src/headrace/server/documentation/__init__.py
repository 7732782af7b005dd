"""What describes the API: the OpenAPI document, a page for people, the tables of fields."""
