"""Do the fast laws of delivery notice a flipped condition?"""
