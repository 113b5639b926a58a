// Package models has the commands that use a trained model: generate, score, export, merge.
package models
