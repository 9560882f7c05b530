package thrice
