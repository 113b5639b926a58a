// Package training has the commands that train, and those that come before: pretrain, finetune, plan, init, demo.
package training
