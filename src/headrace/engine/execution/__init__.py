"""One step computed: its arrays, the decoder, the draws."""
