// Package export writes models as folders that other programs read: transformers' layout, the original LLaVA's, a projector alone,
// adapters for PEFT. Tensors pass through one at a time, and a folder appears whole or not at all.
package export
