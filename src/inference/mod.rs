//! Inference: an encoder (text to vector) and a generator (prompt to text) behind two small traits; candle inside.
