// Package training has the commands that train, and those used before training: pretrain, finetune, plan, init, demo.
package training
