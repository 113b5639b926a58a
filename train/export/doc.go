// Package export writes models as folders that other programs read: transformers' layout, the original LLaVA's, only
// the projector, or adapters for PEFT. Tensors pass through memory one at a time, and a folder appears complete or not
// at all.
package export
