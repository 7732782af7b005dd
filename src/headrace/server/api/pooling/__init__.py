"""Endpoints of models that give vectors: embeddings, pooling, classification, score and rerank."""
