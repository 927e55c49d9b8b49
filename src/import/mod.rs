//! Importers: files of people, products and orders, mapped, cleaned, and refused by line number.
